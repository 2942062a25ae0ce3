"""OpenVINO in place of PyTorch for the UNet, on CPUs where it is installed: faster, and within a grey level or so.

``engine_choice`` decides once on a machine, ``graph`` is the network without its weights, ``graph_cache`` keeps it,
``network`` runs it, ``prepare`` is what a process in the background does. ``library`` is the only door to the package.
"""
