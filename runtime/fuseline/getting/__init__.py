"""Models that are fetched by name: which there are, where they are kept, and how the pinned files get here."""
