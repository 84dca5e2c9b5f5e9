"""Plain graphs of a folder's variants, for devices that know none of fuseline's operators: docs/layouts.md."""
