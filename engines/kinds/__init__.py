"""What differs between the kinds of engine; `kind` is all that their life needs to know of one.

vllm       flags, environment, log lines; asked from outside through vllm_pulse, vllm_http, vllm_metrics
"""
