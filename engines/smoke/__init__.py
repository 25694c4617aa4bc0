"""The built-in smoke model: a tiny Llama that proves the path from a request to a real engine.

It answers only about itself. Nothing here imports an engine or a tensor library.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
