"""What the entry points do: each service joins the doors (store, stream, bell) into one deed."""
