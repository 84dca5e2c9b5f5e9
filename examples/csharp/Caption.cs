using System;
using System.IO;
using System.Text;
using System.Text.RegularExpressions;

/// <summary>Says what is on a photo, word by word: Caption FOLDER PHOTO.ppm [BEAMS]. FOLDER is what `fuseline export --embed` has
/// written; the photo is a binary PPM, upright.</summary>
static class Program
{
    static int Main(string[] arguments)
    {
        try
        {
            if (arguments.Length < 2) throw new ArgumentException("give a FOLDER and a PHOTO.ppm");
            int width, height;
            var rgb = ReadPpm(arguments[1], out width, out height);
            using (var model = new Fuseline(arguments[0]))
            {
                var beams = arguments.Length > 2 ? long.Parse(arguments[2]) : (long?)null;
                model.Caption(rgb, width, height, piece => { Console.Write(piece); return true; }, beams);
                Console.WriteLine();
            }
            return 0;
        }
        catch (Exception error)
        {
            Console.Error.WriteLine("caption: " + error.Message);
            return 1;
        }
    }

    static byte[] ReadPpm(string path, out int width, out int height)
    {
        var file = File.ReadAllBytes(path);
        var header = Regex.Match(Encoding.GetEncoding("ISO-8859-1").GetString(file, 0, Math.Min(64, file.Length)), @"^P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s");
        if (!header.Success) throw new InvalidDataException("the photo must be a PPM file of 8 bits (P6)");
        width = int.Parse(header.Groups[1].Value);
        height = int.Parse(header.Groups[2].Value);
        var rgb = new byte[checked(3 * width * height)];
        if (file.Length < header.Length + rgb.Length) throw new InvalidDataException("the photo is cut short");
        Array.Copy(file, header.Length, rgb, 0, rgb.Length);
        return rgb;
    }
}
