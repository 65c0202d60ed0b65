"""What is attached to this machine, found without disturbing it: the finding behind `edgeagent scan`."""
