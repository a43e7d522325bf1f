import os, sys
from purge import purge

site, mode, *scopes = sys.argv[1:]
purge(site, os.environ["PURGE_SECRET"], scopes, mode)
