"""Faces: frames in, observations out. `analyse.FaceAnalyser` is the way in."""
