"""Speech into text: what Whisper and Moonshine say of a sound, segment by segment."""
