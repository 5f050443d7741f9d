"""`stockbell preview`: the mails to look at, as files, and on a page that shows each change of a template at once.

`gallery` makes them, of samples and of the shop's items. `shelf` has those of the files as they are now. `server`
serves `page` on this machine alone, by the standard library: it needs no extra.
"""
