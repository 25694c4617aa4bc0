"""What stands in an Ollama model's name where it is left out, and the variable that names another registry.

Ollama 0.33, types/model/name.go (DefaultName).
"""

from __future__ import annotations

HOST, OWNER, TAG = "registry.ollama.ai", "library", "latest"
# A mirror or a test sets another one. The variable holds scheme and host.
REGISTRY_ENV = "SPILLWAY_OLLAMA_REGISTRY"
