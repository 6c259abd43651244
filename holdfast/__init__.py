"""The contract between training and serving: schema, histories, encoding, manifest, client.

It deliberately knows neither how a model is trained nor how it is served: NumPy and
gRPC are its heaviest imports, and neither ``training`` nor ``serving`` is among them.
"""

__version__ = "0.1.0"
