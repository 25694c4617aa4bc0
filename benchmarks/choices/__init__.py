"""The servers, clients and JSON libraries that were tried for the hot path, each as a relay as small as it can be.

Every relay takes POST /v1/chat/completions, sends the body as it came to $STUB_URL, passes the answer back as it
comes and hangs up on the engine when its client leaves. It knows no limits, ledger or metrics.

relay: what a client must offer, and the relay as a raw ASGI application. shell: that application under uvicorn.
client_*: one HTTP client each, under the same shell. server_*: one server each, with the same client (aiohttp).
engine_line, exchange: the two halves of a relay of bare asyncio protocols. server_protocol runs it alone,
server_uvicorn_protocol inside uvicorn.
json_decoders times the parse of a request. measure runs every relay; its docstring says how.

The scripts carry their pinned dependencies (PEP 723): the project depends on none of them.
"""
