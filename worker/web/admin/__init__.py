"""The pages for admins, under `/admin`: see what the line does, understand one customer's case, retry what failed.

In: GETs and forms. Out: pages made here, which work without JavaScript but for charts and what is live. `app` puts the
pages together, `office` is what they share, `gate` knows who has logged in, and `frame` is what is around every page.
Each other module has the routes of one page of the menu. A page reads through `services` and `store`; what changes
anything is a verb of theirs, and a POST whose handler asks the gate for an admin.
"""
