from llava_tuning.cli import main

main()
