"""Engines: whatever runs a StageGraph. All run the same tasks and give the same answers.

``base`` what they offer · ``local`` processes of this machine · ``cluster`` a master over HTTP ·
``whole`` small queries in this process · ``polars_engine`` all of them behind Polars' interface.

Nothing is re-exported here: each engine costs the imports of its own kind.
"""
