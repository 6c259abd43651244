"""Other servers with the same ONNX file, each in an environment of its own that has none of our packages.

It deliberately helps them as far as their own documentation does: they receive arrays that are encoded
already, in one piece of bytes, and encoding is not counted against them.

    packed            arrays of several customers as bytes; NumPy alone
    scorer            the ONNX file, run customer by customer or padded to the longest
    mlserver_runtime  a custom runtime of MLServer
    litserve_server   a LitServe server
    ray_server        a Ray Serve deployment behind its gRPC proxy
    protocol          one tensor of bytes in the messages that two of them take
    setups            how each is installed, started and asked
"""
