"""Servers that others run: `external` asks them, `listed` is what they say of themselves."""
