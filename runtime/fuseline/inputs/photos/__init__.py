"""Photo files: their bytes, what their headers say, and what decoding them will cost, before anything is decoded."""
