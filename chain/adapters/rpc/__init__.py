"""JSON over HTTP on a node's store. Needs ``pip install 'gvm[rpc]'``."""
