"""The way to cloud APIs.

cloud is the door: call (what the SDK is called with), sdk (litellm, loaded and told to keep quiet), answers (what it
says, in the OpenAI form), ending (whether it is the provider that ends a stream), cloud_reply (an answer under way),
errors (what a refusal means, whoever says it). Known of providers: kinds (their windows); of their models:
`ground.prices`.
"""
