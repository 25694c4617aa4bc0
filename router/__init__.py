"""Answers OpenAI requests: reads the Ask, chooses a Target, relays. Never sees a GPU or a process."""
