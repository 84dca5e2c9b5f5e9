// Where libfuseline was installed: FUSELINE_PREFIX, else where the linker looks by itself.
fn main() {
    println!("cargo:rerun-if-env-changed=FUSELINE_PREFIX");
    if let Ok(prefix) = std::env::var("FUSELINE_PREFIX") {
        println!("cargo:rustc-link-search={prefix}/lib");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{prefix}/lib");
    }
}
