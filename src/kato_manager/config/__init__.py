"""How instances are written: files, flags and request bodies become `InstanceSpec` values.

Whatever the door, a raw mapping becomes a tree of `node.Node` whose leaves are the user's own text;
the type of the field decides what a text means, so `id: no` stays the text `no`.
"""
