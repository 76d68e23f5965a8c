"""Networks that are programs in a file: `torch.export`, TorchScript, ONNX.

Whoever wrote such a file decides what runs. So it is read once, hashed, and opened only if its hash is the one that was
named; and what torch would run as Python of it is found first, and needs permission (`harness.core.code`).

Importing these modules loads neither torch nor onnxruntime.
"""
