"""An algorithm in its setting, compiled and run: the only `jit`, evaluation, ledgers, memory."""
