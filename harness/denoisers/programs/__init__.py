"""Networks that are programs in a file: `torch.export`, TorchScript, ONNX.

Whoever wrote such a file decides what runs. So a file is read once, and the bytes in memory are what is hashed,
described, searched for code and opened (`ProgramFile`). Cards and metrics name the hash that the file must have, and
another file is refused. A denoiser may name it, and takes any file where it names none; either way the hash of the file
is part of its identity. What torch would run as Python of a file is found first, and needs permission
(`harness.core.code`).

Importing these modules loads neither torch nor onnxruntime.
"""
