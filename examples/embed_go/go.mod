module gvm.example/embed_go

go 1.19
