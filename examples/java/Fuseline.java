import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.function.Predicate;

/** fuseline.h in Java: a model that opens, captions photos and is closed. Any number of threads may use one at once. */
public final class Fuseline implements AutoCloseable {
    private static final StructLayout SETTINGS = MemoryLayout.structLayout(
        ADDRESS.withName("onnxruntime"), ADDRESS.withName("kernels"), JAVA_INT.withName("threads"),
        JAVA_INT.withName("check_weights"));
    private static final StructLayout INPUT = MemoryLayout.structLayout(
        ADDRESS.withName("rgb"), JAVA_LONG.withName("width"), JAVA_LONG.withName("height"), JAVA_LONG.withName("stride"),
        ADDRESS.withName("ids"), JAVA_LONG.withName("id_count"),
        ADDRESS.withName("source_weights"), JAVA_LONG.withName("source_weight_count"),
        ADDRESS.withName("samples"), JAVA_LONG.withName("sample_count"));
    private static final StructLayout OPTIONS = MemoryLayout.structLayout(
        JAVA_LONG.withName("num_beams"), JAVA_LONG.withName("max_length"), JAVA_LONG.withName("min_length"),
        JAVA_LONG.withName("early_stopping"), JAVA_LONG.withName("no_repeat_ngram_size"),
        JAVA_LONG.withName("num_return_sequences"), JAVA_LONG.withName("forced_bos_token_id"),
        JAVA_LONG.withName("forced_eos_token_id"), JAVA_FLOAT.withName("length_penalty"),
        JAVA_FLOAT.withName("repetition_penalty"), ADDRESS.withName("decoder_input_ids"),
        JAVA_LONG.withName("decoder_input_id_count"), ADDRESS.withName("eos_token_ids"),
        JAVA_LONG.withName("eos_token_id_count"), ADDRESS.withName("language"), ADDRESS.withName("task"),
        ADDRESS.withName("on_text"), ADDRESS.withName("user_data"), ADDRESS.withName("cancel"));

    private static final Linker LINKER = Linker.nativeLinker();
    private static final SymbolLookup LIBRARY = SymbolLookup.libraryLookup(System.mapLibraryName("fuseline"), Arena.global());
    private static final MethodHandle LAST_ERROR = function("fuseline_last_error", ADDRESS);
    private static final MethodHandle DEFAULT_SETTINGS = function("fuseline_default_settings", JAVA_INT, ADDRESS);
    private static final MethodHandle OPEN = function("fuseline_open", ADDRESS, ADDRESS, ADDRESS);
    private static final MethodHandle CLOSE = procedure("fuseline_close");
    private static final MethodHandle DEFAULT_OPTIONS = function("fuseline_default_options", JAVA_INT, ADDRESS, ADDRESS);
    private static final MethodHandle GENERATE = function("fuseline_generate", ADDRESS, ADDRESS, ADDRESS, ADDRESS);
    private static final MethodHandle RESULT_TEXT = function("fuseline_result_text", ADDRESS, ADDRESS, JAVA_LONG);
    private static final MethodHandle FREE_RESULT = procedure("fuseline_free_result");
    private static final FunctionDescriptor ON_TEXT = FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, ADDRESS);

    private final MemorySegment model;

    /** Opens the model in a folder. */
    public Fuseline(String folder) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment settings = arena.allocate(SETTINGS);
            int ignored = (int) DEFAULT_SETTINGS.invokeExact(settings);
            model = checked((MemorySegment) OPEN.invokeExact(arena.allocateFrom(folder), settings));
        } catch (Throwable error) {
            throw unchecked(error);
        }
    }

    /**
     * The caption of a photo, red, green and blue of its pixels row by row.
     *
     * @param onText gets pieces that are never taken back, and returns whether to go on
     */
    public String caption(byte[] rgb, int width, int height, Predicate<String> onText) {
        if (width <= 0 || height <= 0 || rgb.length != 3L * width * height) {
            throw new IllegalArgumentException("a photo has three bytes a pixel");
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment input = arena.allocate(INPUT);
            input.set(ADDRESS, at(INPUT, "rgb"), arena.allocateFrom(ValueLayout.JAVA_BYTE, rgb));
            input.set(JAVA_LONG, at(INPUT, "width"), width);
            input.set(JAVA_LONG, at(INPUT, "height"), height);
            MemorySegment options = arena.allocate(OPTIONS);
            int ignored = (int) DEFAULT_OPTIONS.invokeExact(model, options);
            MethodHandle told = MethodHandles.insertArguments(
                MethodHandles.lookup().findStatic(Fuseline.class, "told", MethodType.methodType(
                    int.class, Predicate.class, MemorySegment.class, MemorySegment.class, MemorySegment.class)), 0, onText);
            options.set(ADDRESS, at(OPTIONS, "on_text"), LINKER.upcallStub(told, ON_TEXT, arena));
            MemorySegment result = checked((MemorySegment) GENERATE.invokeExact(model, input, options));
            String text = text((MemorySegment) RESULT_TEXT.invokeExact(result, 0L));
            FREE_RESULT.invokeExact(result);
            return text;
        } catch (Throwable error) {
            throw unchecked(error);
        }
    }

    @Override
    public void close() {
        try {
            CLOSE.invokeExact(model);
        } catch (Throwable error) {
            throw unchecked(error);
        }
    }

    /** Calls Java from C, which must see no exception. */
    private static int told(Predicate<String> onText, MemorySegment piece, MemorySegment tentative, MemorySegment userData) {
        try {
            return onText.test(text(piece)) ? 0 : 1;
        } catch (RuntimeException error) {
            return 1;
        }
    }

    private static MemorySegment checked(MemorySegment made) throws Throwable {
        if (made.equals(MemorySegment.NULL)) {
            throw new IllegalArgumentException(text((MemorySegment) LAST_ERROR.invokeExact()));
        }
        return made;
    }

    private static String text(MemorySegment start) {
        return start.reinterpret(Long.MAX_VALUE).getString(0);
    }

    private static long at(StructLayout struct, String field) {
        return struct.byteOffset(PathElement.groupElement(field));
    }

    private static MethodHandle function(String name, MemoryLayout result, MemoryLayout... arguments) {
        return LINKER.downcallHandle(LIBRARY.find(name).orElseThrow(), FunctionDescriptor.of(result, arguments));
    }

    private static MethodHandle procedure(String name) {
        return LINKER.downcallHandle(LIBRARY.find(name).orElseThrow(), FunctionDescriptor.ofVoid(ADDRESS));
    }

    private static RuntimeException unchecked(Throwable error) {
        return error instanceof RuntimeException known ? known : new IllegalStateException(error);
    }
}
