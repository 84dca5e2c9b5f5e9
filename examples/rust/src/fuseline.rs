//! fuseline.h in Rust: a model that opens, captions photos and closes itself.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::ptr::{null, null_mut};

/// What the header declares, of which this program needs only a part.
mod ffi {
    use super::*;

    #[repr(C)]
    pub struct Settings {
        pub onnxruntime: *const c_char,
        pub kernels: *const c_char,
        pub threads: i32,
        pub check_weights: i32,
    }

    #[repr(C)]
    pub struct Input {
        pub rgb: *const u8,
        pub width: i64,
        pub height: i64,
        pub stride: i64,
        pub ids: *const i64,
        pub id_count: i64,
        pub source_weights: *const f32,
        pub source_weight_count: i64,
        pub samples: *const f32,
        pub sample_count: i64,
    }

    pub type OnText = unsafe extern "C" fn(*const c_char, *const c_char, *mut c_void) -> c_int;

    #[repr(C)]
    pub struct Options {
        pub num_beams: i64,
        pub max_length: i64,
        pub min_length: i64,
        pub early_stopping: i64,
        pub no_repeat_ngram_size: i64,
        pub num_return_sequences: i64,
        pub forced_bos_token_id: i64,
        pub forced_eos_token_id: i64,
        pub length_penalty: f32,
        pub repetition_penalty: f32,
        pub decoder_input_ids: *const i64,
        pub decoder_input_id_count: i64,
        pub eos_token_ids: *const i64,
        pub eos_token_id_count: i64,
        pub language: *const c_char,
        pub task: *const c_char,
        pub on_text: Option<OnText>,
        pub user_data: *mut c_void,
        pub cancel: *mut c_void,
    }

    #[link(name = "fuseline")]
    extern "C" {
        pub fn fuseline_last_error() -> *const c_char;
        pub fn fuseline_default_settings(settings: *mut Settings) -> c_int;
        pub fn fuseline_open(folder: *const c_char, settings: *const Settings) -> *mut c_void;
        pub fn fuseline_close(model: *mut c_void);
        pub fn fuseline_default_options(model: *const c_void, options: *mut Options) -> c_int;
        pub fn fuseline_generate(model: *const c_void, input: *const Input, options: *const Options) -> *mut c_void;
        pub fn fuseline_result_text(result: *const c_void, place: usize) -> *const c_char;
        pub fn fuseline_free_result(result: *mut c_void);
    }
}

/// An open model; any number of threads may use it at once.
pub struct Model(*mut c_void);

unsafe impl Send for Model {}
unsafe impl Sync for Model {}

impl Model {
    /// Open the model in a folder.
    pub fn open(folder: &str) -> Result<Model, String> {
        let folder = CString::new(folder).map_err(|error| error.to_string())?;
        let mut settings = ffi::Settings { onnxruntime: null(), kernels: null(), threads: 0, check_weights: 0 };
        let model = unsafe {
            ffi::fuseline_default_settings(&mut settings);
            ffi::fuseline_open(folder.as_ptr(), &settings)
        };
        if model.is_null() { Err(last_error()) } else { Ok(Model(model)) }
    }

    /// The caption of a photo, red, green and blue of its pixels row by row. `on_text` gets pieces that are never taken
    /// back, and goes on with true. `num_beams`: None for the model's own.
    pub fn caption<F>(&self, rgb: &[u8], width: usize, num_beams: Option<i64>, mut on_text: F) -> Result<String, String>
    where
        F: FnMut(&str) -> bool,
    {
        if width == 0 || rgb.len() % (3 * width) != 0 {
            return Err("a photo has whole rows of three bytes a pixel".into());
        }
        let (width, height) = (width as i64, (rgb.len() / (3 * width)) as i64);
        let input = ffi::Input {
            rgb: rgb.as_ptr(), width, height, stride: 0, ids: null(), id_count: 0, source_weights: null(), source_weight_count: 0,
            samples: null(), sample_count: 0,
        };
        let mut options = std::mem::MaybeUninit::uninit();
        let result = unsafe {
            if ffi::fuseline_default_options(self.0, options.as_mut_ptr()) != 0 {
                return Err(last_error());
            }
            let mut options = options.assume_init();
            options.num_beams = num_beams.unwrap_or(options.num_beams);
            options.on_text = Some(told::<F>);
            options.user_data = (&mut on_text as *mut F).cast();
            Found(ffi::fuseline_generate(self.0, &input, &options))
        };
        if result.0.is_null() {
            return Err(last_error());
        }
        Ok(unsafe { text(ffi::fuseline_result_text(result.0, 0)) })
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { ffi::fuseline_close(self.0) }
    }
}

struct Found(*mut c_void);

impl Drop for Found {
    fn drop(&mut self) {
        unsafe { ffi::fuseline_free_result(self.0) }
    }
}

/// Calls a closure from C, which must see no panic.
unsafe extern "C" fn told<F: FnMut(&str) -> bool>(piece: *const c_char, _: *const c_char, on_text: *mut c_void) -> c_int {
    let (piece, on_text) = (text(piece), &mut *on_text.cast::<F>());
    let go_on = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| on_text(&piece)));
    c_int::from(!go_on.unwrap_or(false))
}

unsafe fn text(from: *const c_char) -> String {
    if from == null_mut() { String::new() } else { CStr::from_ptr(from).to_string_lossy().into_owned() }
}

fn last_error() -> String {
    unsafe { text(ffi::fuseline_last_error()) }
}
