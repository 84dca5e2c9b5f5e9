"""Where a photo lies in what the encoder sees: how it was resized, cropped, turned and padded."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Placement:
    """The place of a photo of `photo` pixels, (width, height), in a frame of `frame` pixels, that of pixel_values.

    `across` and `down` are the frame's horizontal and vertical axis: scale and offset, so that a place p of the photo,
    in pixels from its left or upper edge, lies at scale * p + offset. What lies outside the frame was cut off, and what
    of the frame no place of the photo comes to is padding.
    """

    photo: tuple[int, int]
    frame: tuple[int, int]
    across: tuple[float, float] = (1.0, 0.0)
    down: tuple[float, float] = (1.0, 0.0)
    turned: bool = False
    """a quarter clockwise: the frame's horizontal axis is the photo's vertical one"""

    @classmethod
    def of(cls, size: tuple[int, int]) -> Placement:
        """A photo of this size, (width, height), as it is."""
        return cls(size, size)

    def resized(self, size: tuple[int, int]) -> Placement:
        """The same after the frame has got another size, (width, height)."""
        (width, height), (x, y) = size, self.frame
        across = (self.across[0] * width / x, self.across[1] * width / x)
        return replace(self, frame=size, across=across, down=(self.down[0] * height / y, self.down[1] * height / y))

    def cut(self, left: int, top: int, size: tuple[int, int]) -> Placement:
        """A part of the frame that begins at (left, top); numbers below 0 are padding before it."""
        across, down = (self.across[0], self.across[1] - left), (self.down[0], self.down[1] - top)
        return replace(self, frame=size, across=across, down=down)

    def turned_clockwise(self) -> Placement:
        """The frame turned by a quarter, of a photo that was not turned before."""
        width, height = self.frame
        across = (-self.down[0], height - self.down[1])
        return replace(self, frame=(height, width), across=across, down=self.across, turned=True)
