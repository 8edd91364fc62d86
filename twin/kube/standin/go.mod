module twin.local/stand-in

go 1.22
