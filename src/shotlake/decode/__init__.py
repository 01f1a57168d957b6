"""Decode: the bytes of a video become aligned frames and waveform, one clip a segment, every second accounted for."""
