"""Model folders: found, checked and described. Nothing of them runs here."""
