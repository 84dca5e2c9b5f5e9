"""Step 5: the trained captioner as a fuseline folder, fp32 to compare with and int8 to ship, each scored on val."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fuseline.export.adapters.gpt2 import append_cross_kv, build_decoder, decoder_info
from fuseline.export.folder import write_folder
from fuseline.export.graph import Scheme

from .captioner import BOS, EOS, PAD, UNK, Captioner, gpt2_state_dict
from .data import Photo
from .encoder_graph import HIDDEN, append_bridge, conv_model
from .evaluate import evaluate
from .prepare import PIXEL_MEAN, PIXEL_STD, make_views
from .progress import record

CALIBRATION_PHOTOS = 256
MAX_LENGTH = 22
MIN_WEIGHT = 1e-4
Variants = dict[str, dict[str, onnx.ModelProto]]


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """The first training photos, as the captioner sees them."""

    def __init__(self, data: Path, photos: list[Photo], size: int) -> None:
        self.batches: Iterator[NDArray[np.float32]] = (make_views(data / p.file, 1, size) for p in photos)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixel_values": batch}


def raise_dead_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which no output channel's weights are all smaller than MIN_WEIGHT.

    ImageNet training left channels whose folded weights are 1e-20 and whose bias matters. 8 bits keep the bias in units
    of the weights' scale, where such a bias does not fit 32 bits; one weight of 1e-4 on inputs below 6 changes less
    than the rounding.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        weight = onnx.numpy_helper.to_array(tensor).copy()
        if weight.ndim != 4:
            continue
        rows = weight.reshape(len(weight), -1)
        largest = np.abs(rows).argmax(axis=1)
        dead = np.abs(rows[np.arange(len(rows)), largest]) < MIN_WEIGHT
        rows[dead, largest[dead]] = MIN_WEIGHT
        tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
    return copy


def quantize_convolutions(model: onnx.ModelProto, calibration: CalibrationDataReader) -> onnx.ModelProto:
    """Static 8 bits for every convolution: unsigned weights too, since u8 x s8 saturates on CPUs without VNNI."""
    with tempfile.TemporaryDirectory() as scratch:
        source, prepared, target = (Path(scratch) / name for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
        onnx.save(raise_dead_channels(model), source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            calibration,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True},
        )
        return onnx.load(target)


def build_variants(captioner: Captioner, data: Path, photos: list[Photo]) -> Variants:
    """Encoder and decoder graphs of each variant."""
    shape = captioner.shape
    modules = [*captioner.cnn.front, *captioner.cnn.tail]
    convolutions = conv_model(modules, "pixel_values", shape.image_size)
    calibration = Calibration(data, photos[:CALIBRATION_PHOTOS], shape.image_size)
    quantized = quantize_convolutions(convolutions, calibration)
    state, config = gpt2_state_dict(captioner), decoder_config(captioner)
    variants: Variants = {}
    schemes: list[tuple[str, Scheme, onnx.ModelProto]] = [("fp32", "fp32", convolutions), ("int8", "int8", quantized)]
    for name, scheme, body in schemes:
        encoder = append_cross_kv(append_bridge(body, captioner, scheme), state, config, HIDDEN, scheme)
        variants[name] = {"encoder": encoder, "decoder": build_decoder(state, config, scheme)}
    return variants


def decoder_config(captioner: Captioner) -> dict[str, Any]:
    """The decoder as transformers' GPT2Config names it."""
    shape = captioner.shape
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "add_cross_attention": True,
        "vocab_size": shape.vocab_size,
        "n_positions": shape.max_positions,
        "n_embd": shape.width,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def model_config(captioner: Captioner) -> dict[str, Any]:
    """config.json: a VisionEncoderDecoderModel whose encoder is this recipe's own."""
    shape = captioner.shape
    encoder = {
        "model_type": "efficientnet-lite0-bridge",
        "image_size": shape.image_size,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.bridge_layers,
        "num_attention_heads": shape.heads,
    }
    return {
        "model_type": "vision-encoder-decoder",
        "architectures": ["VisionEncoderDecoderModel"],
        "encoder": encoder,
        "decoder": decoder_config(captioner),
        "decoder_start_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def tokenizer_json(vocabulary: list[str]) -> str:
    """A word-level tokenizer: lower case, split at spaces, <s> and </s> around."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=vocabulary[UNK]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(vocabulary[i], i) for i in (BOS, EOS)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{vocabulary[BOS]} $A {vocabulary[EOS]}", special_tokens=special
    )
    tokenizer.add_special_tokens(vocabulary[: UNK + 1])
    return tokenizer.to_str(pretty=True)


def preprocessor_config(captioner: Captioner) -> dict[str, Any]:
    """The whole photo squeezed to a square by a bicubic filter, (pixel - 127) / 128."""
    size = captioner.shape.image_size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 3,
        "do_rescale": False,
        "do_normalize": True,
        "image_mean": [PIXEL_MEAN] * 3,
        "image_std": [PIXEL_STD] * 3,
    }


def write(out: Path, captioner: Captioner, vocabulary: list[str], variants: Variants, quality: Any) -> None:
    """A fuseline folder with the given variants; int8 is the default."""
    generation_config = {
        "decoder_start_token_id": BOS,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "max_length": MAX_LENGTH,
        "num_beams": 4,
    }
    write_folder(
        out,
        config=model_config(captioner),
        generation_config=generation_config,
        preprocessor_config=preprocessor_config(captioner),
        tokenizer_json=tokenizer_json(vocabulary),
        decoder_info=decoder_info(decoder_config(captioner)),
        variants=variants,
        default_variant="int8",
        quality=quality,
    )


def export(
    captioner: Captioner, data: Path, work: Path, photos: list[Photo], vocabulary: list[str], val: list[Photo]
) -> Path:
    """Build, score and write: `work/folder` with both variants, `work/flickr8k-lite0` with int8 alone, which ships."""
    variants = build_variants(captioner, data, photos)
    both = work / "folder"
    write(both, captioner, vocabulary, variants, {})
    quality: dict[str, Any] = {}
    for name in variants:
        scores, captions = evaluate(both, name, data, val)
        quality[name] = {"dataset": "flickr8k val", "photos": len(val), "num_beams": 4, **scores}
        record(work, phase="export", variant=name, **scores)
        (work / f"captions_{name}.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    write(both, captioner, vocabulary, variants, quality)
    shipped = work / "flickr8k-lite0"
    write(shipped, captioner, vocabulary, {"int8": variants["int8"]}, quality)
    return shipped


def install(shipped: Path, models_folder: Path) -> None:
    """Put the folder where the package looks for it, keeping the model card that lies there."""
    target = models_folder / shipped.name
    card = target / "MODEL_CARD.md"
    text = card.read_bytes() if card.exists() else None
    partial = models_folder / f".{shipped.name}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(shipped, partial)
    if text is not None:
        (partial / "MODEL_CARD.md").write_bytes(text)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
