"""The way to cloud APIs: cloud (the door, litellm's SDK), cloud_reply (an answer under way)."""
