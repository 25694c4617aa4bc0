"""Looks for the highest load that keeps a promise.

saturation (bracket and bisect, pure), settings and candidates of an engine compared by it (tune).
"""
