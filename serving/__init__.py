"""From an artifact to answers: verify, batch, score, serve over gRPC or into a file.

It deliberately does not know how the model was trained, nor any training library.
"""
