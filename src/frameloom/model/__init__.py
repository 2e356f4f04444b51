"""The words of Frameloom as types: frame, packet, result, stages, parameters, clock, errors, names.

Imports nothing of ours and no codec, and starts nothing. What moves these things between processes is `frameloom.bus`;
what produces them is `frameloom.sources`; pixel conversions are `frameloom.pixels`.
"""
