"""What fuseline is measured with. Nothing here is part of the installed package."""
