//! Says what is on a photo, word by word: caption FOLDER PHOTO.ppm [BEAMS]
//!
//! FOLDER is what `fuseline export --embed` has written; the photo is a binary PPM, upright.

mod fuseline;

use std::io::Write;

/// A binary PPM's pixels and width.
fn read_ppm(file: &[u8]) -> Option<(&[u8], usize)> {
    let mut rest = file;
    let mut words = Vec::new();
    while words.len() < 4 {
        rest = &rest[rest.iter().position(|byte| !byte.is_ascii_whitespace())?..];
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        words.push(std::str::from_utf8(&rest[..end]).ok()?);
        rest = &rest[end..];
    }
    let (width, height): (usize, usize) = (words[1].parse().ok()?, words[2].parse().ok()?);
    let pixels = rest.get(1..)?.get(..width.checked_mul(height)?.checked_mul(3)?)?;
    (words[0] == "P6" && words[3] == "255" && width > 0).then_some((pixels, width))
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, path) = match &arguments[..] {
        [folder, path, ..] => (folder, path),
        _ => return Err("give a FOLDER and a PHOTO.ppm".into()),
    };
    let beams = arguments.get(2).map(|text| text.parse().map_err(|_| format!("{text} is no number of beams"))).transpose()?;
    let file = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let (rgb, width) = read_ppm(&file).ok_or("the photo must be a PPM file of 8 bits (P6)")?;
    let model = fuseline::Model::open(folder)?;
    model.caption(rgb, width, beams, |piece| {
        print!("{piece}");
        std::io::stdout().flush().is_ok()
    })?;
    println!();
    Ok(())
}

fn main() {
    if let Err(sentence) = run() {
        eprintln!("caption: {sentence}");
        std::process::exit(1);
    }
}
