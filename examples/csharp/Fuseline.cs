using System;
using System.Runtime.InteropServices;
using System.Text;

/// <summary>fuseline.h in C#: a model that opens, captions photos and is disposed of. Any number of threads may use one.</summary>
public sealed class Fuseline : IDisposable
{
    [StructLayout(LayoutKind.Sequential)]
    struct Settings
    {
        public IntPtr onnxruntime, kernels;
        public int threads, check_weights;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct Input
    {
        public IntPtr rgb;
        public long width, height, stride;
        public IntPtr ids;
        public long id_count;
        public IntPtr source_weights;
        public long source_weight_count;
        public IntPtr samples;
        public long sample_count;
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate int OnText(IntPtr piece, IntPtr tentative, IntPtr user_data);

    [StructLayout(LayoutKind.Sequential)]
    struct Options
    {
        public long num_beams, max_length, min_length, early_stopping, no_repeat_ngram_size, num_return_sequences;
        public long forced_bos_token_id, forced_eos_token_id;
        public float length_penalty, repetition_penalty;
        public IntPtr decoder_input_ids;
        public long decoder_input_id_count;
        public IntPtr eos_token_ids;
        public long eos_token_id_count;
        public IntPtr language, task, on_text, user_data, cancel;
    }

    const string Library = "fuseline"; // libfuseline.so, libfuseline.dylib or fuseline.dll

    [DllImport(Library)] static extern IntPtr fuseline_last_error();
    [DllImport(Library)] static extern int fuseline_default_settings(out Settings settings);
    [DllImport(Library)] static extern IntPtr fuseline_open(byte[] folder, ref Settings settings);
    [DllImport(Library)] static extern void fuseline_close(IntPtr model);
    [DllImport(Library)] static extern int fuseline_default_options(IntPtr model, out Options options);
    [DllImport(Library)] static extern IntPtr fuseline_generate(IntPtr model, ref Input input, ref Options options);
    [DllImport(Library)] static extern IntPtr fuseline_result_text(IntPtr result, UIntPtr place);
    [DllImport(Library)] static extern void fuseline_free_result(IntPtr result);

    IntPtr model;

    /// <summary>Opens the model in a folder.</summary>
    public Fuseline(string folder)
    {
        Settings settings;
        fuseline_default_settings(out settings);
        model = Checked(fuseline_open(Encoding.UTF8.GetBytes(folder + "\0"), ref settings));
    }

    /// <summary>The caption of a photo: red, green and blue of its pixels row by row. onText gets pieces that are never taken
    /// back, and returns whether to go on; numBeams: null for the model's own.</summary>
    public string Caption(byte[] rgb, int width, int height, Func<string, bool> onText, long? numBeams = null)
    {
        if (model == IntPtr.Zero) throw new ObjectDisposedException("Fuseline");
        if (width <= 0 || height <= 0 || rgb.LongLength != 3L * width * height) throw new ArgumentException("a photo has three bytes a pixel");
        OnText told = (piece, tentative, userData) =>
        {
            try { return onText(Utf8(piece)) ? 0 : 1; }
            catch (Exception) { return 1; } // C must see none
        };
        var pixels = GCHandle.Alloc(rgb, GCHandleType.Pinned);
        try
        {
            var input = new Input { rgb = pixels.AddrOfPinnedObject(), width = width, height = height };
            Options options;
            fuseline_default_options(model, out options);
            options.num_beams = numBeams ?? options.num_beams;
            options.on_text = Marshal.GetFunctionPointerForDelegate(told);
            var result = Checked(fuseline_generate(model, ref input, ref options));
            var text = Utf8(fuseline_result_text(result, UIntPtr.Zero));
            fuseline_free_result(result);
            return text;
        }
        finally
        {
            pixels.Free();
            GC.KeepAlive(told);
        }
    }

    public void Dispose()
    {
        fuseline_close(model);
        model = IntPtr.Zero;
        GC.SuppressFinalize(this);
    }

    ~Fuseline() { Dispose(); }

    static IntPtr Checked(IntPtr made)
    {
        if (made == IntPtr.Zero) throw new InvalidOperationException(Utf8(fuseline_last_error()));
        return made;
    }

    static string Utf8(IntPtr text)
    {
        var length = 0;
        while (Marshal.ReadByte(text, length) != 0) length++;
        var bytes = new byte[length];
        Marshal.Copy(text, bytes, 0, length);
        return Encoding.UTF8.GetString(bytes);
    }
}
