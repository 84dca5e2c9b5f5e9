import java.awt.Color;
import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import javax.imageio.ImageIO;

/** Says what is on a photo, word by word: java Caption.java FOLDER PHOTO. FOLDER is what `fuseline export --embed` has written. */
public final class Caption {
    /** Red, green and blue of a photo's pixels, row by row. */
    private static byte[] rgb(BufferedImage photo) {
        int width = photo.getWidth();
        int[] pixels = photo.getRGB(0, 0, width, photo.getHeight(), null, 0, width);
        byte[] rgb = new byte[3 * pixels.length];
        for (int place = 0; place < pixels.length; place++) {
            Color colour = new Color(pixels[place]);
            rgb[3 * place] = (byte) colour.getRed();
            rgb[3 * place + 1] = (byte) colour.getGreen();
            rgb[3 * place + 2] = (byte) colour.getBlue();
        }
        return rgb;
    }

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 2) {
            throw new IllegalArgumentException("give a FOLDER and a PHOTO");
        }
        BufferedImage photo = ImageIO.read(new File(arguments[1])); // as it is stored: it should be upright
        if (photo == null) {
            throw new IOException(arguments[1] + " is no photo that Java reads");
        }
        try (Fuseline model = new Fuseline(arguments[0])) {
            model.caption(rgb(photo), photo.getWidth(), photo.getHeight(), piece -> {
                System.out.print(piece);
                System.out.flush();
                return true;
            });
            System.out.println();
        }
    }
}
