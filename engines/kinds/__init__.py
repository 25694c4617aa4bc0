"""What differs between the kinds of engine; `kind` is all that their life needs to know of one.

registry   which kind an engine is of
http       the door to engines, `wire` what kinds need of it; `canary` asks through it what every kind is asked alike
vllm       flags, environment, log lines; asked from outside through vllm_pulse, vllm_metrics
ollama     environment, names, log lines; asked from outside through ollama_pulse (loaded as planned?), ollama_pull and
           ollama_files (is the model whole?), ollama_runner (what its llama-server counts), ollama_processes,
           ollama_api (its answers, read); before it starts, ollama_damaged removes files with other bytes
"""
