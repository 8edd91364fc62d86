module twin.local/test-clusters/programs

go 1.21
