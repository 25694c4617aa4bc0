"""What the wanted models are: resolved facts, pinned files, and the files themselves.

architecture   what the arithmetic knows of a model: sizes, and its attention layers by kind; frozen
hf_config      a Hugging Face config.json -> Architecture
hf_keys        its keys, asked one by one: what is missing is named
hf_layers      its attention layers by kind, family by family
hf_states      sizes of the layers that keep a state instead of tokens
hf_quantization  its quantization: method, groups, KV cache
weights        bytes by how tensor parallelism divides them, from safetensors headers
rotary         bytes of the tables for rotary positions, which no file holds
tensor_names   which part a tensor belongs to, by the names that model families use
gguf           the header of a GGUF file -> Architecture
lock           models.lock: values, reading, strict checks
lock_text      the values as TOML
hub            the one door to the Hugging Face hub: revisions, files and digests, headers, downloads
ollama         the one door to Ollama's registry: manifest digest, layers, sizes
ollama_names   what stands in its models' names where it is left out
prices         the twins' context, capabilities and price, from the cost table that litellm carries
checkpoint     which files of a model vLLM loads, and what they say of it
folder         a checkpoint in a folder
resolve        wanted models -> Lock; what stack.toml wants and a lock lacks
stale          what differs between an old lock and a new one
locked         where the files of a locked model are, and what a router may know of it
files          whether they are the locked ones
verified       which large files were found to be right, so that they are not read at every start
download       fetch what is missing before anything starts: disk first, verified, with progress
transfer       one file of the hub into the cache, resumed
hub_file       the door for that: what a file is on the hub, and its bytes from a given one on
hub_cache      how the Hugging Face cache is laid out
together       several jobs at once in threads
tally          how far they are
"""
