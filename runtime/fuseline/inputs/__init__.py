"""What goes in, as arrays that an encoder reads: each equal to what the Hugging Face processor of the model makes."""
