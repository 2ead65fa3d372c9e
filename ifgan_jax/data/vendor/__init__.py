"""The paper's four data sets: from the folders their owners deliver to lists of examples.

`tree` reads folders and archives, `example` is what a parser returns; `bu3dfe`, `ck_plus`, `mmi`
and `raf_db` are the parsers, `pictures` decodes. No TensorFlow, no torch, no network.
"""
