"""The tests mirror the rooms; tests.tiny builds small real models."""
