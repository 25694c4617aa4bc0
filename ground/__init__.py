"""What `engines` and `router` both stand on, and what knows neither.

prices (litellm's list of models, read as a file) and table (one that fits its terminal). Only what both need is here.
"""
