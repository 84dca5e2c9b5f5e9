"""What lies in a checkpoint: its files, its tokenizer, its image processor, and what can be tried without weights."""
